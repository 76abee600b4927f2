"""What servers say when they refuse or fail, and the errors and delays that it means."""
