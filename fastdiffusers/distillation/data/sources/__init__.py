"""Where samples come from: one file for each way in which captioned pictures, or captions, are kept. No Paddle."""
