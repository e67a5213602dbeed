"""The gateway's rules, and what device and instance say through it. Pure: no input or output.

topic, policy, event
    the gateway's topics, who may use which, and what it says itself
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
pairing_code, pairing_message, pairing_schedule
    the QR; what is said about keys; what secret and which digits come out
pairing_device; pairing_instance, pairing_rotation, pairing_step
    each side's phases
setup_claim
    what the gateway makes of a device with a setup key
forward, forward_path, forward_field, forward_origin, forward_identity
    what the instance passes on to the web system, and what of the response
cookie, cookie_jar
    the web system's cookies, kept for each device
replay
    counters and clocks, so that nothing is carried out twice or too late
"""
