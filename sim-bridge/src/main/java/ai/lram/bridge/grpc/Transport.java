package ai.lram.bridge.grpc;

import io.grpc.netty.shaded.io.netty.channel.Channel;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.ServerChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.Epoll;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollIoHandler;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.nio.NioIoHandler;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioServerSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.netty.shaded.io.netty.util.concurrent.DefaultThreadFactory;
import java.net.SocketAddress;
import java.util.concurrent.TimeUnit;

/** The netty pieces for an endpoint: epoll where the system has it, else NIO, which knows no Unix domain sockets here. */
final class Transport implements AutoCloseable {
    private static final long QUIET_MS = 0;
    private static final long CLOSE_MS = 2_000;

    private final boolean unix;
    private final EventLoopGroup loops;

    Transport(Endpoint endpoint, String threadName, int threads) {
        unix = endpoint instanceof Endpoint.Unix;
        if (unix && !Epoll.isAvailable()) {
            throw new BridgeConfigException(
                    "address " + endpoint + " cannot be used",
                    "Unix domain sockets need Linux on x86-64 or AArch64: " + Epoll.unavailabilityCause(),
                    "use a TCP address such as 127.0.0.1:7447",
                    Epoll.unavailabilityCause());
        }
        DefaultThreadFactory factory = new DefaultThreadFactory(threadName, true);
        loops = new MultiThreadIoEventLoopGroup(
                threads, factory, Epoll.isAvailable() ? EpollIoHandler.newFactory() : NioIoHandler.newFactory());
    }

    EventLoopGroup loops() {
        return loops;
    }

    Class<? extends ServerChannel> serverChannel() {
        return unix
                ? EpollServerDomainSocketChannel.class
                : Epoll.isAvailable() ? EpollServerSocketChannel.class : NioServerSocketChannel.class;
    }

    Class<? extends Channel> clientChannel() {
        return unix
                ? EpollDomainSocketChannel.class
                : Epoll.isAvailable() ? EpollSocketChannel.class : NioSocketChannel.class;
    }

    static SocketAddress address(Endpoint endpoint) {
        return switch (endpoint) {
            case Endpoint.Tcp tcp -> tcp.resolve();
            case Endpoint.Unix unix -> new DomainSocketAddress(unix.path().toFile());
        };
    }

    @Override
    public void close() {
        loops.shutdownGracefully(QUIET_MS, CLOSE_MS, TimeUnit.MILLISECONDS);
    }
}
