"""Datasets: found, downloaded, checked, split; pictures to predict."""
