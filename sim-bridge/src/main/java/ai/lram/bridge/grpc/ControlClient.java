package ai.lram.bridge.grpc;

import ai.lram.bridge.v1.ControlServiceGrpc;
import ai.lram.bridge.v1.DescribeReply;
import ai.lram.bridge.v1.DescribeRequest;
import ai.lram.bridge.v1.StatsReply;
import ai.lram.bridge.v1.StatsRequest;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.util.concurrent.TimeUnit;

/** A connection to a control server; carries any number of robots' sessions. Any thread; calls block unless said otherwise. */
public final class ControlClient implements AutoCloseable {
    private final Endpoint endpoint;
    private final ClientSettings settings;
    private final Transport transport;
    private final ManagedChannel channel;
    private final ModelDescription model;

    private ControlClient(
            Endpoint endpoint,
            ClientSettings settings,
            Transport transport,
            ManagedChannel channel,
            ModelDescription model) {
        this.endpoint = endpoint;
        this.settings = settings;
        this.transport = transport;
        this.channel = channel;
        this.model = model;
    }

    /** Connects with default settings. */
    public static ControlClient connect(Endpoint endpoint) {
        return connect(endpoint, ClientSettings.defaults());
    }

    /**
     * Connects and asks what the server's model is for.
     *
     * @throws ConnectFailedException if no server answers, or one of another protocol version
     * @throws BridgeConfigException if the address is none this system has
     */
    public static ControlClient connect(Endpoint endpoint, ClientSettings settings) {
        Transport transport = new Transport(endpoint, "lram-client", 1);
        ManagedChannel channel = NettyChannelBuilder.forAddress(Transport.address(endpoint))
                .eventLoopGroup(transport.loops())
                .channelType(transport.clientChannel())
                .overrideAuthority("lram")
                .directExecutor()
                .usePlaintext()
                .build();
        boolean connected = false;
        try {
            DescribeReply reply = ControlServiceGrpc.newBlockingStub(channel)
                    .withDeadlineAfter(settings.connectTimeout().toNanos(), TimeUnit.NANOSECONDS)
                    .describe(DescribeRequest.getDefaultInstance());
            if (reply.getProtocolVersion() != Wire.PROTOCOL_VERSION) {
                throw new ConnectFailedException(
                        "cannot use the server at " + endpoint,
                        "it speaks protocol version " + reply.getProtocolVersion() + ", this client "
                                + Wire.PROTOCOL_VERSION,
                        "use a client of the server's version",
                        null);
            }
            ModelDescription model = new ModelDescription(
                    reply.getModelName(),
                    reply.getTasksList().stream().map(TaskDescription::of).toList(),
                    reply.getMaxMessageBytes());
            connected = true;
            return new ControlClient(endpoint, settings, transport, channel, model);
        } catch (StatusRuntimeException failure) {
            throw new ConnectFailedException(
                    "cannot reach a control server at " + endpoint,
                    failure.getStatus().getCode() + " "
                            + (failure.getCause() == null
                                    ? failure.getStatus().getDescription()
                                    : failure.getCause().getMessage()),
                    "start one with lram serve, or correct the address",
                    failure);
        } finally {
            if (!connected) {
                channel.shutdownNow();
                transport.close();
            }
        }
    }

    /** What the server's model is for. */
    public ModelDescription describe() {
        return model;
    }

    /** Where the server is. */
    public Endpoint endpoint() {
        return endpoint;
    }

    /**
     * Opens a session.
     *
     * @throws SessionRefusedException if the server refuses it; the message says why and what to do
     * @throws ConnectFailedException if the connection is lost or no reply comes in time
     */
    public RobotConnection open(SessionOptions options) {
        RobotConnection robot =
                new RobotConnection(settings, options.description().action().size());
        ControlServiceGrpc.newStub(channel).control(robot.observer());
        robot.awaitOpened(options);
        return robot;
    }

    /** The server's counts and latencies, as {@code control.proto} describes them. */
    public StatsReply stats() {
        try {
            return ControlServiceGrpc.newBlockingStub(channel)
                    .withDeadlineAfter(settings.connectTimeout().toNanos(), TimeUnit.NANOSECONDS)
                    .stats(StatsRequest.getDefaultInstance());
        } catch (StatusRuntimeException failure) {
            throw new ConnectionLostException(
                    "no statistics from " + endpoint,
                    failure.getStatus().toString(),
                    "see whether the server still runs",
                    failure);
        }
    }

    /** Breaks off what is open and disconnects. */
    @Override
    public void close() {
        channel.shutdownNow();
        try {
            channel.awaitTermination(settings.connectTimeout().toNanos(), TimeUnit.NANOSECONDS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
        transport.close();
    }
}
