"""The mesh, sharding rules, and jobs of several processes."""
