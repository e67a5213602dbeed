// Clients of MQTT.js, as many as wanted, each with a name. On standard input a command a line,
// {id, name, do, ...}; on standard output {id, ...} as its answer, and {name, event, ...}.
// Bytes are written in hexadecimal digits.
"use strict";

const mqtt = require("mqtt");
const readline = require("node:readline");

const clients = new Map();

function plain(key, value) {
  const found = this[key]; // before toJSON
  return Buffer.isBuffer(found) ? found.toString("hex") : value;
}

function tell(told) {
  process.stdout.write(JSON.stringify(told, plain) + "\n");
}

function packed(properties) {
  const found = { ...properties };
  if (found.correlationData !== undefined) {
    found.correlationData = Buffer.from(found.correlationData, "hex");
  }
  return found;
}

function connect({ id, name, options }) {
  if (options.will) {
    options.will.payload = Buffer.from(options.will.payload, "hex");
    options.will.properties = packed(options.will.properties);
  }
  const client = mqtt.connect({
    ...options,
    host: "127.0.0.1",
    path: "/mqtt",
    properties: packed(options.properties),
    connectTimeout: 20000,
    resubscribe: false,
  });
  clients.set(name, client);
  let reason = null;
  client.answers = new Map(); // to its messages: the library keeps reasons below 0x80 to itself
  client.on("packetreceive", ({ cmd, messageId, reasonCode }) => {
    if (cmd === "puback" || cmd === "pubrec") client.answers.set(messageId, reasonCode || 0);
  });
  client.on("connect", (packet) =>
    tell({ id, present: packet.sessionPresent, properties: packet.properties || {} }),
  );
  client.on("message", (topic, payload, { qos, retain, properties }) =>
    tell({ name, event: "message", topic, payload, qos, retain, properties: properties || {} }),
  );
  client.on("disconnect", (packet) => (reason = packet.reasonCode));
  client.on("error", (error) => {
    // While it comes back by itself, what it meets in between is no answer.
    if (!options.reconnectPeriod) tell({ id, refused: error.code, text: error.message });
  });
  client.on("close", () => {
    tell({ name, event: "end", reason });
    reason = null;
  });
}

const commands = {
  connect,
  subscribe: ({ id, name, pattern, options }) =>
    clients.get(name).subscribe(pattern, options, (error, granted, packet) => {
      const answer = packet || (error && error.packet);
      tell({ id, reason: answer.granted[0] });
    }),
  unsubscribe: ({ id, name, pattern }) => clients.get(name).unsubscribe(pattern, () => tell({ id })),
  publish({ id, name, topic, payload, options }) {
    const client = clients.get(name);
    const wanted = { ...options, properties: packed(options.properties) };
    client.publish(topic, Buffer.from(payload, "hex"), wanted, (error, packet) =>
      tell({ id, reason: error ? error.code : client.answers.get(packet?.messageId) || 0 }),
    );
  },
  state: ({ id, name }) => tell({ id, connected: clients.get(name).connected }),
  disconnect: ({ name }) => clients.get(name).end(),
  drop: ({ name }) => clients.get(name).stream.destroy(),
  stop: ({ name }) => clients.get(name).end(true),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
