"""Does the audit find what is wrong with a run, and keep quiet where nothing is?"""
