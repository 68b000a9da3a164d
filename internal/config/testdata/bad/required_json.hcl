# a list that is known to be empty
targets_json = "[]"
