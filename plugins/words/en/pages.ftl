# What the pages say.
