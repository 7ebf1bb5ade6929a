"""A made-up multi-category shop that writes the raw contract: people, items, searches, hints.

``settings`` holds every parameter, ``recipes/`` the presets; docs/simulator.md describes it all.
``language`` is the seam between behaviour and words: ``catalog`` and ``queries`` (vocabulary in
``words``) are a made-up shop, ``given`` and ``pairs`` one of own items and queries. ``population``
makes the people, ``interests`` what they want, ``seasons`` when; ``history`` is what the shop has
seen of them, ``ranker`` the production ranker that proposes hints from that history alone,
``sessions`` the visits. ``landing`` and ``writer`` make the files; ``relevance`` is the ground
truth, and ``truth`` answers by it afterwards.
"""
