// aedes on two free ports, TCP and WebSocket, as its documentation sets it up; prints them.
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { Aedes } from 'aedes'
import { createWebSocketStream, WebSocketServer } from 'ws'

const HOST = '127.0.0.1'
const broker = await Aedes.createBroker()
const tcp = createServer(broker.handle)
const http = createHttpServer()
const sockets = new WebSocketServer({ server: http })
sockets.on('connection', (socket, request) => {
  broker.handle(createWebSocketStream(socket), request)
})
tcp.listen(0, HOST, () => {
  http.listen(0, HOST, () => {
    console.log(tcp.address().port, http.address().port)
  })
})
