"""Who uses a simulated cluster: clients, devices, operators."""
