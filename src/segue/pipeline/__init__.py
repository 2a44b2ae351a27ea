"""From several models' answers to one list that is good for a business: sources, blend, rules, variety, exploration."""
