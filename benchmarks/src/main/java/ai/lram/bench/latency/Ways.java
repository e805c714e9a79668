package ai.lram.bench.latency;

import ai.lram.agent.card.TaskCard;
import ai.lram.bench.Closing;
import ai.lram.bench.TemporaryFolder;
import ai.lram.bench.latency.LatencySettings.Transport;
import ai.lram.bridge.grpc.ControlServer;
import ai.lram.bridge.grpc.Endpoint;
import ai.lram.bridge.grpc.ServerSettings;
import ai.lram.runtime.LramRuntime;
import java.nio.file.Path;

/** The ways to a runtime; servers start when first needed. */
final class Ways implements AutoCloseable {
    private final LramRuntime runtime;
    private final Closing open = new Closing();
    private Endpoint tcp;
    private Endpoint unix;

    Ways(LramRuntime runtime) {
        this.runtime = runtime;
    }

    /** A new session. */
    Robot robot(TaskCard task, Transport transport) {
        return switch (transport) {
            case LOCAL -> LocalRobot.open(runtime, task);
            case TCP -> {
                tcp = tcp == null ? serve(new Endpoint.Tcp("127.0.0.1", 0)) : tcp;
                yield GrpcRobot.open(tcp, task.id());
            }
            case UNIX -> {
                unix = unix == null ? serve(new Endpoint.Unix(socket())) : unix;
                yield GrpcRobot.open(unix, task.id());
            }
        };
    }

    private Endpoint serve(Endpoint at) {
        return open.add(ControlServer.start(runtime, ServerSettings.load().at(at)))
                .endpoint();
    }

    private Path socket() {
        return open.add(TemporaryFolder.create("a socket of the benchmark"))
                .path()
                .resolve("s");
    }

    @Override
    public void close() {
        open.close();
    }
}
