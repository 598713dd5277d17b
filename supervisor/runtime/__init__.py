"""The loop around the core, and the ports it needs: no product is named here."""
