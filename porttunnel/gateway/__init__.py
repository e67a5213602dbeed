"""The gateway's rules, and what device and instance say through it. Pure: no input or output.

http_head
    the heads of requests and responses, and which bytes may stand in them
binary_http, binary_http_reader
    HTTP messages as bytes (RFC 9292): writing, and reading as they come
"""
