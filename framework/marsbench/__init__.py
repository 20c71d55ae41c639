"""marsbench: which features and model recognise emotion in this audio best, honestly measured."""
