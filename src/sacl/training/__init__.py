"""The SACL objective and the loop that trains by it. Nothing here can reach a test split."""
