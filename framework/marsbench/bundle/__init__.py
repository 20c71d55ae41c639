"""A fitted pipeline that leaves the lab: predicts, is saved, is loaded again and checks itself."""
