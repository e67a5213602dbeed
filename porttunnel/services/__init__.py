"""What ``twistd`` runs: options and services, built first and opened on start."""
