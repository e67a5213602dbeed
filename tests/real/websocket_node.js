// node --experimental-websocket websocket_node.js URL: Node's own client at an echo server.
// It prints `echoed` and how many bytes came back right, and `closed` with the code.
const sizes = [1, 125, 126, 65535, 65536, 300000];
const sent = Buffer.concat(sizes.map((size) => Buffer.alloc(size, `size ${size}`)));
let received = Buffer.alloc(0);
const client = new WebSocket(process.argv[2], ["other", "echo"]);
client.binaryType = "arraybuffer";
client.onopen = () => {
  let at = 0;
  for (const size of sizes) {
    client.send(sent.subarray(at, at + size));
    at += size;
  }
};
client.onmessage = (event) => {
  received = Buffer.concat([received, Buffer.from(event.data)]);
  if (received.length === sent.length) {
    console.log(received.equals(sent) ? "echoed" : "changed", received.length, client.protocol);
    client.close(1000, "done");
  }
};
client.onclose = (event) => console.log(event.wasClean ? "closed" : "failed", event.code);
client.onerror = (event) => console.log("error", event.message);
