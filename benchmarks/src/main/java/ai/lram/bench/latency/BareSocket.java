package ai.lram.bench.latency;

import ai.lram.bench.BenchException;
import ai.lram.runtime.protocol.StepTiming;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;

/**
 * The least a connection can cost: a message of an observation's size goes through a socket to a thread that sends it back. No protocol, no
 * parsing, blocking calls.
 */
final class BareSocket implements Robot {
    private final ServerSocketChannel listening;
    private final SocketChannel socket;
    private final ByteBuffer message;

    private BareSocket(ServerSocketChannel listening, SocketChannel socket, int bytes) {
        this.listening = listening;
        this.socket = socket;
        message = ByteBuffer.allocateDirect(bytes);
    }

    static BareSocket tcp(int bytes) {
        return open(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), bytes);
    }

    /** @param path of the socket's file, which must not exist yet */
    static BareSocket unix(Path path, int bytes) {
        return open(UnixDomainSocketAddress.of(path), bytes);
    }

    private static BareSocket open(SocketAddress at, int bytes) {
        try {
            boolean tcp = at instanceof InetSocketAddress;
            ServerSocketChannel listening =
                    tcp ? ServerSocketChannel.open() : ServerSocketChannel.open(StandardProtocolFamily.UNIX);
            listening.bind(at);
            Thread.ofPlatform().daemon().name("lram-bench-echo").start(() -> echo(listening, bytes));
            SocketChannel socket = SocketChannel.open(listening.getLocalAddress());
            if (tcp) {
                socket.setOption(StandardSocketOptions.TCP_NODELAY, true);
            }
            return new BareSocket(listening, socket, bytes);
        } catch (IOException e) {
            throw failed(e);
        }
    }

    private static void echo(ServerSocketChannel listening, int bytes) {
        try (SocketChannel peer = listening.accept()) {
            if (peer.getLocalAddress() instanceof InetSocketAddress) {
                peer.setOption(StandardSocketOptions.TCP_NODELAY, true);
            }
            ByteBuffer buffer = ByteBuffer.allocateDirect(bytes);
            while (read(peer, buffer)) {
                write(peer, buffer);
            }
        } catch (AsynchronousCloseException closed) {
            // Nobody connected.
        } catch (IOException e) {
            throw failed(e);
        }
    }

    /** Fills the buffer; false at the end of the connection. */
    private static boolean read(SocketChannel from, ByteBuffer buffer) throws IOException {
        buffer.clear();
        while (buffer.hasRemaining()) {
            if (from.read(buffer) < 0) {
                return false;
            }
        }
        return true;
    }

    private static void write(SocketChannel to, ByteBuffer buffer) throws IOException {
        buffer.rewind();
        while (buffer.hasRemaining()) {
            to.write(buffer);
        }
    }

    private static BenchException failed(IOException e) {
        return new BenchException(
                "a bare socket failed", e.toString(), "see whether this machine lets a process talk to itself", e);
    }

    @Override
    public Reply act(float[] observation, byte[] image, float reward, boolean reset) {
        try {
            message.clear();
            write(socket, message);
            if (!read(socket, message)) {
                throw new ClosedChannelException();
            }
            return new Reply(observation, StepTiming.ZERO);
        } catch (IOException e) {
            throw failed(e);
        }
    }

    @Override
    public void close() {
        try {
            socket.close();
            listening.close();
        } catch (IOException e) {
            throw failed(e);
        }
    }
}
