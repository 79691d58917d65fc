"""The product beside its peers and beside the physical floor, as ratios in one run."""
