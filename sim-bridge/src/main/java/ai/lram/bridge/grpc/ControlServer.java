package ai.lram.bridge.grpc;

import ai.lram.bridge.v1.ControlServiceGrpc;
import ai.lram.runtime.LramRuntime;
import io.grpc.Server;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.protobuf.services.ProtoReflectionServiceV1;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.concurrent.TimeUnit;

/**
 * A gRPC server in front of a runtime: control, health and reflection services.
 *
 * <p>The runtime is the caller's: close the server first, then the runtime. Any thread; {@link #start} and {@link #close} block.
 */
public final class ControlServer implements AutoCloseable {
    private static final long CLOSE_SECONDS = 5;

    private final Server server;
    private final Transport transport;
    private final ControlService service;
    private final HealthStatusManager health;
    private final Endpoint endpoint;

    private ControlServer(
            Server server, Transport transport, ControlService service, HealthStatusManager health, Endpoint endpoint) {
        this.server = server;
        this.transport = transport;
        this.service = service;
        this.health = health;
        this.endpoint = endpoint;
    }

    /**
     * Starts to serve.
     *
     * @throws BindRefusedException if other hosts could reach the address
     * @throws ServerStartException if the address is in use or cannot be bound
     * @throws BridgeConfigException if the address is none this system has
     */
    public static ControlServer start(LramRuntime runtime, ServerSettings settings) {
        prepare(settings.endpoint());
        Transport transport = new Transport(settings.endpoint(), "lram-server", settings.ioThreads());
        ControlService service = new ControlService(runtime, settings);
        HealthStatusManager health = new HealthStatusManager();
        Server server = NettyServerBuilder.forAddress(Transport.address(settings.endpoint()))
                .bossEventLoopGroup(transport.loops())
                .workerEventLoopGroup(transport.loops())
                .channelType(transport.serverChannel())
                .directExecutor()
                .maxInboundMessageSize(hardLimitBytes(settings))
                .maxConcurrentCallsPerConnection(settings.streamsPerConnection())
                .keepAliveTime(settings.keepAlive().toMillis(), TimeUnit.MILLISECONDS)
                .keepAliveTimeout(settings.keepAlive().toMillis(), TimeUnit.MILLISECONDS)
                .permitKeepAliveTime(1, TimeUnit.SECONDS)
                .addService(service)
                .addService(health.getHealthService())
                .addService(ProtoReflectionServiceV1.newInstance())
                .build();
        try {
            server.start();
        } catch (IOException failure) {
            transport.close();
            throw cannotListen(settings.endpoint(), failure);
        }
        Endpoint bound = bound(server, settings.endpoint());
        runtime.onHealth(healthy -> {
            ServingStatus status = healthy ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
            health.setStatus(HealthStatusManager.SERVICE_NAME_ALL_SERVICES, status);
            health.setStatus(ControlServiceGrpc.SERVICE_NAME, status);
        });
        return new ControlServer(server, transport, service, health, bound);
    }

    private static void prepare(Endpoint endpoint) {
        switch (endpoint) {
            case Endpoint.Tcp tcp -> requireLoopback(tcp);
            case Endpoint.Unix unix -> removeStaleSocket(unix);
        }
    }

    /**
     * Finds out early what would keep a server from listening there.
     *
     * @throws BindRefusedException if other hosts could reach the address
     * @throws ServerStartException if the address is in use or cannot be bound
     */
    static void requireFree(Endpoint endpoint) {
        prepare(endpoint);
        if (endpoint instanceof Endpoint.Tcp tcp && tcp.port() != 0) {
            try (ServerSocket probe = new ServerSocket()) {
                probe.setReuseAddress(true);
                probe.bind(tcp.resolve());
            } catch (IOException failure) {
                throw cannotListen(endpoint, failure);
            }
        }
    }

    private static ServerStartException cannotListen(Endpoint endpoint, IOException failure) {
        return new ServerStartException(
                "cannot listen at " + endpoint,
                rootMessage(failure),
                "stop what uses the address, or choose another one with lram.bridge.listen",
                failure);
    }

    /**
     * Beyond this the transport drops the stream without a word (the client sees CANCELLED); between the limit and this the
     * stream can say what is wrong.
     */
    private static int hardLimitBytes(ServerSettings settings) {
        return (int) Math.min(Integer.MAX_VALUE, 4L * settings.maxMessageBytes());
    }

    private static void requireLoopback(Endpoint.Tcp tcp) {
        if (!tcp.resolve().getAddress().isLoopbackAddress()) {
            throw new BindRefusedException(
                    "cannot listen at " + tcp,
                    "other hosts can reach it, and connections are neither encrypted nor authenticated yet",
                    "listen at 127.0.0.1 or unix:PATH; reach it from elsewhere through an SSH tunnel",
                    null);
        }
    }

    private static void removeStaleSocket(Endpoint.Unix unix) {
        Path path = unix.path();
        try {
            if (!Files.exists(path, LinkOption.NOFOLLOW_LINKS)) {
                return;
            }
            BasicFileAttributes file = Files.readAttributes(path, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS);
            if (!file.isOther()) {
                throw new ServerStartException(
                        "cannot listen at " + unix, "there is a file that is no socket", "choose another path", null);
            }
            if (answers(path)) {
                throw new ServerStartException(
                        "cannot listen at " + unix,
                        "another server listens there",
                        "stop it, or choose another path",
                        null);
            }
            Files.delete(path);
        } catch (IOException failure) {
            throw new ServerStartException(
                    "cannot listen at " + unix,
                    rootMessage(failure),
                    "choose a folder this user can write to",
                    failure);
        }
    }

    private static boolean answers(Path socket) {
        try (SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
            return channel.isConnected();
        } catch (IOException nobody) {
            return false;
        }
    }

    private static Endpoint bound(Server server, Endpoint wanted) {
        return switch (wanted) {
            case Endpoint.Tcp tcp ->
                new Endpoint.Tcp(
                        tcp.host(),
                        ((InetSocketAddress) server.getListenSockets().getFirst()).getPort());
            case Endpoint.Unix unix -> ownerOnly(unix);
        };
    }

    private static Endpoint ownerOnly(Endpoint.Unix unix) {
        try {
            Files.setPosixFilePermissions(unix.path(), PosixFilePermissions.fromString("rw-------"));
            return unix;
        } catch (IOException failure) {
            throw new ServerStartException(
                    "cannot protect " + unix, rootMessage(failure), "choose a folder this user can write to", failure);
        }
    }

    private static String rootMessage(Throwable failure) {
        Throwable root = failure;
        while (root.getCause() != null) {
            root = root.getCause();
        }
        return String.valueOf(root.getMessage());
    }

    /** Where it listens, with the port the system chose. */
    public Endpoint endpoint() {
        return endpoint;
    }

    /** Ends all sessions and stops listening. Calling it again does nothing. */
    @Override
    public void close() {
        if (server.isShutdown()) {
            return;
        }
        health.enterTerminalState();
        server.shutdown();
        service.endStreams();
        try {
            if (!server.awaitTermination(CLOSE_SECONDS, TimeUnit.SECONDS)) {
                server.shutdownNow();
            }
        } catch (InterruptedException interrupted) {
            server.shutdownNow();
            Thread.currentThread().interrupt();
        }
        transport.close();
    }
}
