"""Jobs on AWS: requests built by pure functions, and the code that sends them."""
