package ai.lram.bridge.grpc;

import ai.lram.bridge.v1.ControlReply;
import ai.lram.bridge.v1.ControlRequest;
import ai.lram.bridge.v1.ControlServiceGrpc;
import ai.lram.bridge.v1.DescribeReply;
import ai.lram.bridge.v1.DescribeRequest;
import ai.lram.bridge.v1.StatsReply;
import ai.lram.bridge.v1.StatsRequest;
import ai.lram.runtime.LramRuntime;
import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** The service of {@code control.proto} in front of a runtime. Called on the connections' threads; never blocks. */
final class ControlService extends ControlServiceGrpc.ControlServiceImplBase {
    private final LramRuntime runtime;
    private final ServerSettings settings;
    private final Set<ControlStream> streams = ConcurrentHashMap.newKeySet();

    ControlService(LramRuntime runtime, ServerSettings settings) {
        this.runtime = runtime;
        this.settings = settings;
    }

    @Override
    public void describe(DescribeRequest request, StreamObserver<DescribeReply> reply) {
        reply.onNext(Wire.description(runtime.card(), settings.maxMessageBytes()));
        reply.onCompleted();
    }

    @Override
    public StreamObserver<ControlRequest> control(StreamObserver<ControlReply> replies) {
        ControlStream stream =
                new ControlStream(runtime, settings, (ServerCallStreamObserver<ControlReply>) replies, streams::remove);
        streams.add(stream);
        stream.start();
        return stream;
    }

    @Override
    public void stats(StatsRequest request, StreamObserver<StatsReply> reply) {
        reply.onNext(Wire.stats(runtime.stats()));
        reply.onCompleted();
    }

    void endStreams() {
        for (ControlStream stream : streams) {
            stream.end(Status.UNAVAILABLE.withDescription(
                    "session closed; why: the server is shutting down; fix: connect to another one"));
        }
    }
}
