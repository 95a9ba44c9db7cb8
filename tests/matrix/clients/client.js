// Connects, sends a stream, and gets it back behind a line that says who answers.
// usage: client ADDRESS PORT; prints: own address and port, those of the peer, who answered, "intact".
const net = require("net");

const sent = Buffer.from(Array.from({ length: 1000003 }, (_, i) => i % 251));
const parts = [];
// allowHalfOpen: what we end, the server does not.
const socket = net.connect({ host: process.argv[2], port: Number(process.argv[3]), allowHalfOpen: true }, () => {
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  process.stdout.write(`${localAddress} ${localPort} ${remoteAddress} ${remotePort} `);
  socket.end(sent);
});
socket.on("data", (part) => parts.push(part));
socket.on("end", () => {
  const got = Buffer.concat(parts);
  const end = got.indexOf("\n");
  console.log(`${got.subarray(0, end)} ${got.subarray(end + 1).equals(sent) ? "intact" : "differs"}`);
});
