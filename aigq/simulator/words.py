"""The made-up shop's vocabulary: departments, sections, leaf types, attributes, brands, people.

A leaf is written ``name = synonym``; a section holds leaves that go together, so leaves of one
section are each other's complements. Brands are invented: a stem and the department's ending.
"""

# department -> section -> leaves
DEPARTMENTS: dict[str, dict[str, str]] = {
    "Clothing": {
        "Tops": "t shirt=tee, blouse=ladies top, hoodie=hooded sweater, sweater=jumper, "
        "cardigan=knit jacket",
        "Bottoms": "jeans=denims, skirt=midi skirt, shorts=bermudas, leggings=tights, "
        "chinos=casual trousers",
        "Outerwear": "raincoat=rain jacket, winter coat=parka, blazer=suit jacket, "
        "vest=bodywarmer, windbreaker=wind jacket",
        "Occasions": "dress=gown, pajamas=sleepwear, swimsuit=bathing suit, "
        "bathrobe=dressing gown, costume=fancy dress",
    },
    "Shoes and Bags": {
        "Sport Shoes": "running shoes=trainers, sneakers=sport shoes, "
        "hiking boots=trekking shoes, football boots=cleats, water shoes=aqua shoes",
        "Everyday Shoes": "ankle boots=booties, sandals=flip flops, high heels=pumps, "
        "loafers=slip ons, slippers=house shoes",
        "Bags": "backpack=rucksack, handbag=purse, tote bag=shopper bag, suitcase=luggage, "
        "laptop bag=briefcase",
        "Accessories": "wallet=billfold, belt=waist belt, umbrella=brolly, sunglasses=shades, "
        "watch=wristwatch",
    },
    "Electronics": {
        "Audio": "headphones=headset, earbuds=in ears, bluetooth speaker=boombox, "
        "soundbar=tv speaker, turntable=record player",
        "Computers": "laptop=notebook computer, monitor=computer screen, keyboard=pc keyboard, "
        "mouse=computer mouse, webcam=web camera",
        "Phones": "smartphone=mobile phone, phone case=phone cover, charger=power adapter, "
        "power bank=battery pack, phone holder=phone mount",
        "Home Electronics": "television=tv, projector=beamer, router=wifi box, "
        "game controller=gamepad, camera=photo camera",
    },
    "Kitchen": {
        "Cookware": "frying pan=skillet, saucepan=cooking pot, baking tray=oven tray, "
        "casserole=dutch oven, wok=stirfry pan",
        "Kitchen Appliances": "coffee maker=coffee machine, kettle=water boiler, "
        "blender=smoothie mixer, air fryer=hot fryer, toaster=bread toaster",
        "Tableware": "mug=coffee cup, wine glasses=wine goblets, dinner plates=dinnerware, "
        "cutlery=flatware, salad bowl=serving bowl",
        "Kitchen Helpers": "knife set=kitchen knives, cutting board=chopping board, "
        "lunch box=bento box, food containers=storage jars, thermos=vacuum flask",
    },
    "Furniture": {
        "Living Room": "sofa=couch, armchair=lounge chair, side table=end table, rug=carpet, "
        "bookshelf=bookcase",
        "Bedroom": "bed frame=bedstead, mattress=sleeping mattress, nightstand=bedside table, "
        "wardrobe=closet, duvet=quilt",
        "Office Furniture": "office chair=desk chair, standing desk=riser desk, "
        "filing cabinet=drawer unit, desk lamp=reading lamp, footrest=foot stool",
        "Decor": "mirror=wall mirror, floor lamp=standing lamp, curtains=drapes, "
        "cushion=throw pillow, picture frame=photo frame",
    },
    "Beauty": {
        "Skin Care": "face cream=moisturizer, sunscreen=sun cream, face mask=sheet mask, "
        "serum=face serum, lip balm=lip care",
        "Hair": "shampoo=hair wash, hair dryer=blow dryer, hair straightener=flat iron, "
        "hair brush=detangler, hair mask=hair treatment",
        "Make Up": "lipstick=lip color, mascara=lash mascara, foundation=makeup base, "
        "nail polish=nail varnish, eyeliner=eye pencil",
        "Grooming": "electric razor=shaver, beard trimmer=beard clipper, perfume=fragrance, "
        "deodorant=deo, toothbrush=dental brush",
    },
    "Sports": {
        "Fitness": "yoga mat=exercise mat, dumbbells=hand weights, "
        "resistance bands=fitness bands, jump rope=skipping rope, foam roller=massage roller",
        "Camping": "tent=camping tent, sleeping bag=bed roll, camping stove=gas cooker, "
        "headlamp=head torch, hammock=hanging bed",
        "Cycling": "bike helmet=cycling helmet, bike light=cycle lamp, bike lock=cycle lock, "
        "bike pump=tyre pump, bike saddle=bike seat",
        "Ball Games": "football=soccer ball, basketball=hoop ball, tennis racket=tennis racquet, "
        "table tennis=ping pong, goalkeeper gloves=keeper gloves",
    },
    "Toys": {
        "Building Toys": "building blocks=toy bricks, train set=toy railway, "
        "marble run=ball track, magnetic tiles=magnet blocks, model kit=scale model",
        "Games": "board game=tabletop game, card game=playing cards, jigsaw puzzle=jigsaw, "
        "dice game=dice set, chess set=chess board",
        "Pretend Play": "doll=baby doll, dollhouse=doll house, toy kitchen=play kitchen, "
        "stuffed animal=plush toy, toy car=model car",
        "Outdoor Toys": "scooter=kick scooter, trampoline=bouncer, kite=stunt kite, "
        "sandbox=sand pit, water gun=water blaster",
    },
    "Baby": {
        "Baby Travel": "stroller=pushchair, baby carrier=baby sling, car seat=child seat, "
        "diaper bag=nappy bag, travel cot=travel crib",
        "Feeding": "baby bottle=feeding bottle, bib=baby bib, high chair=feeding chair, "
        "sippy cup=training cup, breast pump=milk pump",
        "Baby Care": "diapers=nappies, baby wipes=wet wipes, changing mat=changing pad, "
        "baby bath=baby tub, pacifier=soother",
        "Nursery": "baby monitor=baby phone, crib=baby bed, night light=sleep light, "
        "baby blanket=swaddle, crib mobile=baby mobile",
    },
    "Garden and Tools": {
        "Garden": "lawn mower=grass cutter, garden hose=water hose, plant pot=flower pot, "
        "garden shears=pruner, watering can=plant sprinkler",
        "Patio": "grill=barbecue, parasol=sun umbrella, garden bench=patio bench, "
        "solar lights=garden lights, fire pit=fire bowl",
        "Power Tools": "cordless drill=power drill, jigsaw tool=electric saw, "
        "sander=sanding machine, pressure washer=power washer, "
        "leaf blower=garden blower",
        "Hand Tools": "screwdriver set=screwdrivers, hammer=claw hammer, "
        "tape measure=measuring tape, tool box=tool case, ladder=step ladder",
    },
    "Pets": {
        "Dogs": "dog food=dog kibble, dog leash=dog lead, dog bed=dog cushion, "
        "dog harness=dog vest, dog toy=chew toy",
        "Cats": "cat food=cat kibble, cat litter=kitty litter, scratching post=cat tree, "
        "cat toy=cat teaser, cat carrier=pet carrier",
        "Small Animals": "bird cage=parrot cage, hamster cage=rodent cage, "
        "rabbit hutch=bunny house, hay=timothy hay, bird seed=bird feed",
        "Aquarium": "aquarium=fish tank, fish food=fish flakes, aquarium filter=tank filter, "
        "aquarium heater=tank heater, aquarium gravel=tank gravel",
    },
    "Groceries": {
        "Hot Drinks": "coffee beans=roast coffee, green tea=tea leaves, "
        "coffee pods=coffee capsules, hot chocolate=cocoa, herbal tea=tisane",
        "Snacks": "chocolate=choc bar, potato chips=crisps, cookies=biscuits, "
        "mixed nuts=nut mix, granola bars=cereal bars",
        "Pantry": "pasta=noodles, olive oil=cooking oil, rice=basmati, honey=flower honey, "
        "pasta sauce=tomato sauce",
        "Household": "laundry detergent=washing powder, toilet paper=toilet rolls, "
        "dish soap=washup liquid, trash bags=bin liners, paper towels=kitchen roll",
    },
    "Office and Craft": {
        "Writing": "notebook=note pad, ballpoint pens=biros, fountain pen=ink pen, "
        "highlighters=marker pens, planner=diary",
        "Paper": "printer paper=copy paper, sticky notes=memo notes, envelopes=mailers, "
        "greeting cards=cards, wrapping paper=gift wrap",
        "Craft": "acrylic paint=art paint, paint brushes=artist brushes, knitting yarn=wool, "
        "sewing machine=stitching machine, glue gun=hot glue",
        "Desk": "desk organizer=pen holder, stapler=paper stapler, calculator=adding machine, "
        "whiteboard=marker board, printer ink=ink cartridge",
    },
}

_COLORS = "black white blue red green grey pink beige"
# department -> three groups of attribute values (one word each; at least four a group)
ATTRIBUTES: dict[str, dict[str, str]] = {
    "Clothing": {
        "color": _COLORS,
        "material": "cotton linen wool silk fleece",
        "cut": "slim loose oversized cropped long",
    },
    "Shoes and Bags": {
        "color": _COLORS,
        "material": "leather suede canvas nylon mesh",
        "style": "wide waterproof light vintage small",
    },
    "Electronics": {
        "color": "black white silver blue grey",
        "feature": "wireless portable foldable waterproof smart",
        "level": "gaming mini budget premium travel",
    },
    "Kitchen": {
        "color": "black white red green copper",
        "material": "steel glass ceramic bamboo silicone",
        "size": "small large double stackable compact",
    },
    "Furniture": {
        "color": "white black grey beige green",
        "material": "oak velvet metal rattan walnut",
        "style": "modern rustic narrow round folding",
    },
    "Beauty": {
        "need": "sensitive dry oily mature daily",
        "kind": "organic vegan mini travel professional",
        "scent": "rose unscented lavender citrus coconut",
    },
    "Sports": {
        "color": "black blue orange green pink",
        "level": "beginner pro kids training outdoor",
        "feature": "sturdy foldable waterproof adjustable large",
    },
    "Toys": {
        "age": "toddler kids junior family teen",
        "material": "wooden plastic fabric soft recycled",
        "theme": "dinosaur space princess pirate farm",
    },
    "Baby": {
        "color": "grey mint white pink blue",
        "material": "cotton bamboo silicone muslin plastic",
        "stage": "newborn infant toddler twin preemie",
    },
    "Garden and Tools": {
        "color": "green black red yellow grey",
        "feature": "rechargeable manual folding quiet sturdy",
        "size": "heavy compact large small extendable",
    },
    "Pets": {
        "size": "small large medium giant mini",
        "age": "puppy kitten senior adult junior",
        "kind": "natural washable indoor outdoor soft",
    },
    "Groceries": {
        "kind": "organic vegan fairtrade natural premium",
        "diet": "sugarfree glutenfree lowfat salted unsalted",
        "pack": "bulk family mini refill assorted",
    },
    "Office and Craft": {
        "color": "black blue red pastel white",
        "size": "a4 a5 pocket large mini",
        "kind": "recycled refillable student professional kids",
    },
}

BRAND_STEMS = ("bren", "calv", "dorv", "eld", "farn", "grel", "hald", "jorn", "kelv", "lorm")
BRAND_ENDINGS = {
    "Clothing": "ando",
    "Shoes and Bags": "ivet",
    "Electronics": "omma",
    "Kitchen": "uxel",
    "Furniture": "areth",
    "Beauty": "olin",
    "Sports": "edra",
    "Toys": "ikko",
    "Baby": "ombe",
    "Garden and Tools": "ilka",
    "Pets": "uno",
    "Groceries": "agri",
    "Office and Craft": "ept",
}

SERIES = ("", "Classic", "Pro", "Plus", "Essential", "2026", "Comfort", "Set")
TAGS = ("gift", "new", "bestseller", "eco", "sale", "premium", "limited", "handmade", "imported")

# Median price of a leaf's items by department; leaves and items vary around it.
PRICES = dict(zip(DEPARTMENTS, (35, 55, 120, 30, 160, 18, 40, 28, 45, 60, 25, 9, 14), strict=True))

AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
AGE_SHARES = (0.16, 0.27, 0.22, 0.16, 0.12, 0.07)
GENDERS = ("female", "male")
REGIONS = ("north", "south", "east", "west", "central")

# How much more (or less) a group looks for a department than people do on average, in the order of
# DEPARTMENTS: Clo Sho Ele Kit Fur Bea Spo Toy Bab Gar Pet Gro Off
GENDER_TASTES = {
    "female": (1.6, 1.4, 0.5, 1.2, 1.1, 2.2, 0.7, 1.0, 1.5, 0.7, 1.1, 1.1, 1.2),
    "male": (0.6, 0.8, 2.0, 0.8, 0.9, 0.3, 1.5, 0.9, 0.5, 1.6, 0.9, 0.9, 0.8),
}
AGE_TASTES = {
    "18-24": (1.6, 1.6, 1.6, 0.6, 0.5, 1.6, 1.2, 0.4, 0.2, 0.2, 0.7, 0.7, 1.3),
    "25-34": (1.2, 1.2, 1.2, 1.1, 1.3, 1.1, 1.2, 1.2, 2.2, 0.7, 1.0, 0.9, 0.8),
    "35-44": (0.9, 0.9, 1.0, 1.1, 1.1, 0.9, 1.0, 2.0, 1.2, 1.1, 1.1, 1.0, 1.1),
    "45-54": (0.8, 0.8, 0.9, 1.1, 1.0, 0.9, 0.9, 0.9, 0.3, 1.5, 1.2, 1.1, 1.0),
    "55-64": (0.7, 0.7, 0.7, 1.2, 0.9, 0.8, 0.7, 0.9, 0.4, 1.8, 1.2, 1.3, 0.9),
    "65+": (0.6, 0.6, 0.5, 1.2, 0.8, 0.7, 0.5, 0.9, 0.3, 1.8, 1.1, 1.6, 0.9),
}
REGION_TASTES = {
    "north": (1.2, 1.1, 1.0, 1.0, 1.1, 0.9, 1.0, 1.0, 1.0, 0.8, 1.0, 1.1, 1.0),
    "south": (0.9, 1.0, 1.0, 1.0, 0.9, 1.2, 1.2, 1.0, 1.0, 1.4, 1.0, 0.9, 0.9),
    "east": (1.0, 1.0, 1.1, 1.0, 1.0, 1.0, 0.9, 1.1, 1.1, 1.0, 0.9, 1.0, 1.1),
    "west": (1.0, 1.0, 1.2, 1.1, 1.0, 1.0, 1.1, 0.9, 0.9, 0.9, 1.2, 1.0, 1.0),
    "central": (1.0, 0.9, 0.9, 1.1, 1.1, 0.9, 0.9, 1.0, 1.0, 1.1, 1.1, 1.1, 1.0),
}
