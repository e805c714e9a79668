package ai.lram.bench.latency;

import ai.lram.agent.card.TaskCard;
import ai.lram.bench.BenchException;
import ai.lram.bench.latency.LatencySettings.Transport;
import ai.lram.bridge.grpc.ControlServer;
import ai.lram.bridge.grpc.Endpoint;
import ai.lram.bridge.grpc.ServerSettings;
import ai.lram.runtime.LramRuntime;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The ways to a runtime; servers start when first needed. */
final class Ways implements AutoCloseable {
    private final LramRuntime runtime;
    private final List<ControlServer> servers = new ArrayList<>();
    private Endpoint tcp;
    private Endpoint unix;
    private Path folder;

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
        ControlServer server =
                ControlServer.start(runtime, ServerSettings.load().at(at));
        servers.add(server);
        return server.endpoint();
    }

    private Path socket() {
        try {
            folder = Files.createTempDirectory("lram-bench");
            return folder.resolve("s");
        } catch (IOException e) {
            throw new BenchException(
                    "no socket for the benchmark", e.toString(), "set -Djava.io.tmpdir to a folder you may write", e);
        }
    }

    @Override
    public void close() {
        servers.forEach(ControlServer::close);
        if (folder != null) {
            try {
                Files.deleteIfExists(folder.resolve("s"));
                Files.delete(folder);
            } catch (IOException e) {
                throw new BenchException("cannot remove " + folder, e.toString(), "remove it by hand", e);
            }
        }
    }
}
