"""Named, frozen ways to split a corpus into training and test clips."""
