"""Is this base model ready for downstream work, and on what evidence?"""
