"""The full-screen face: a screen (Textual, the main thread) in front of a backstage (the node, its own thread).

What passes between the two are the frozen values of `views`. One message's way: key → `composer` → `chat` →
`backstage` → node, and back: node → `telling` → `views` → `chat` → `transcript`.
"""
