"""How clients find what they are asked for: filters, orders, pages, and schemas made from messages."""
