"""What `import marsbench` offers: the command line's work as functions."""

import warnings

# Optuna loads tqdm, which warns in a notebook that its own bars lack a package; none of them is ever shown.
warnings.filterwarnings("ignore", message="IProgress not found")
