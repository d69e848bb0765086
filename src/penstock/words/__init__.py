"""Listed words in a text, disguised or not.

    text ─► characters, views: what a reader would read ─► prescreen, disguises: hits with places
         ─► contexts: what stands near a hit lowers it ─► findings

`lexicon` is the list that ships with the package; `penstock.lists` looks for a team's own.
"""
