package ai.lram.bench.latency;

import ai.lram.bench.WrongAnswerException;
import ai.lram.bridge.grpc.ClientSettings;
import ai.lram.bridge.grpc.ControlClient;
import ai.lram.bridge.grpc.Endpoint;
import ai.lram.bridge.grpc.RobotConnection;
import ai.lram.bridge.grpc.RobotReply;
import ai.lram.bridge.grpc.SessionOptions;
import java.time.Duration;

/** A robot at the other end of a connection of its own. */
public final class GrpcRobot implements Robot {
    /** Waits for every answer: what is measured is when it comes. */
    private static final ClientSettings PATIENT = new ClientSettings(
            Duration.ofSeconds(30),
            Duration.ofSeconds(30),
            ClientSettings.defaults().spin());

    /** Deadline of an observation: far enough that no fallback is sent in its place. */
    static final long FAR_NS = 9_000_000_000L;

    private final ControlClient client;
    private final RobotConnection robot;

    private GrpcRobot(ControlClient client, RobotConnection robot) {
        this.client = client;
        this.robot = robot;
    }

    /** Connects and opens a session. */
    public static GrpcRobot open(Endpoint endpoint, String task) {
        ControlClient client = ControlClient.connect(endpoint, PATIENT);
        boolean opened = false;
        try {
            RobotConnection robot =
                    client.open(SessionOptions.of("bench", client.describe().task(task)));
            opened = true;
            return new GrpcRobot(client, robot);
        } finally {
            if (!opened) {
                client.close();
            }
        }
    }

    @Override
    public Reply act(float[] observation, byte[] image, float reward, boolean reset) {
        RobotReply reply = robot.act(observation, image, reward, reset, System.nanoTime(), FAR_NS);
        if (reply.outcome() != RobotReply.Outcome.OK) {
            throw new WrongAnswerException(
                    "an observation got no action of the policy",
                    reply.outcome() + " " + reply.cause() + " " + reply.refusal() + " " + reply.detail(),
                    "see the log");
        }
        return new Reply(reply.action(), reply.timing());
    }

    @Override
    public void close() {
        robot.close();
        client.close();
    }
}
