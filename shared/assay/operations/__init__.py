"""Long work as durable operations: started once, watched, cancelled, resumed after a crash."""
