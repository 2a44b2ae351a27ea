"""Raw HTTP/1.1 connections of a test: bytes in, responses out."""

import asyncio


def post(path="/length", body=b"abc", *more, length=None):
    head = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    head += [f"Content-Length: {len(body) if length is None else length}", *more]
    return "\r\n".join([*head, "", ""]).encode() + body


class Client:
    """A raw connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def response(self):
        """(status, head, body) of the next response."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        return int(head.split()[1]), head.lower(), await asyncio.wait_for(self.reader.readexactly(length), 5)

    async def rest(self):
        """Everything until the server closes."""
        return await asyncio.wait_for(self.reader.read(), 5)


def talk(port, conversation, sent=b""):
    """Run a conversation over one connection; ``sent`` goes first."""

    async def main():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        try:
            return await conversation(Client(reader, writer))
        finally:
            writer.close()

    return asyncio.run(main())
