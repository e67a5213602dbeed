"""The gateway's rules, and what device and instance say through it. Pure: no input or output.

http_head
    the heads of requests and responses, and which bytes may stand in them
binary_http, binary_http_reader
    HTTP messages as bytes (RFC 9292): writing, and reading as they come
message_head, part, refusal
    what stands before a sealed stream; what one MQTT message carries; "not carried out, because"
message_key
    a key for each direction and purpose, and what the sealed streams are bound to
part_stream
    one direction of a request: a sealed stream in parts, with credit
device_exchange, instance_exchange, message_event
    a request and its response, as each side sees them
push
    what an instance tells a device unasked
replay
    counters and clocks, so that nothing is carried out twice or too late
"""
