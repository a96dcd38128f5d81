"""Questions, statements and captions about a Scene. Margins decide what is clear enough to be asked.

names        how an object is called so that no other can be meant
geometry     distances, bearings and directions of a scene's objects, as tables
facts        a claim (what is true) and a fact (a claim with names)
distance, orientation, relation, extra   claims of each class
types        one entry for each type of question: class, claims, wording, 2D rule
flat         what the 2D boxes alone suggest
phrasing     from facts to words; words: quantities, plurals, names of directions; phrasings/: the wordings, as YAML
balance      couples of opposite answers, so that names give nothing away
statements   free-form knowledge: how far, where, facing which way
picture      what can be asked without 3D: colours, counts, presence
general, probing, dialogue   data sets made of all that
"""
