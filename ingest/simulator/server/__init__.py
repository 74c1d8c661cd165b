"""The vendor's protocol, REST and WebSocket, spoken on loopback."""
