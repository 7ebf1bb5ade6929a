"""A made-up multi-category shop that writes the raw contract: people, items, searches, hints.

``settings`` holds every parameter, ``words`` the vocabulary. ``catalog`` makes the items,
``queries`` turns what a shopper has in mind into what is typed, ``population`` makes the people and
lets their interests drift, ``history`` is what the shop has seen of them, ``ranker`` the production
ranker that proposes hints from that history alone, ``sessions`` the visits, ``landing`` the files.
"""
