//! ichord.yaml and talconfig.yaml become the site that the program works with.
