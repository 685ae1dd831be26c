"""How jobs went: what the commands read of them too, and the HTML report. It changes nothing."""
