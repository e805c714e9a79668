package ai.lram.cli.scenario;

import ai.lram.bridge.grpc.Endpoint;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** {@code lram serve} as a process of its own, with this process's JDK and class path. */
public final class ServerProcess implements AutoCloseable {
    /** How the line begins in which a server says where it listens. */
    public static final String READY = "serving at ";

    /**
     * Weights and states lie outside the heap; what is in it is small. On two processors a collector that works beside the control loop takes
     * its time from it, and one that seldom stops everything for a millisecond or two is kinder; with more of them it is the other way round.
     */
    private static final String[] HEAP = Runtime.getRuntime().availableProcessors() > 2
            ? new String[] {"-XX:+UseZGC", "-Xms256m", "-Xmx256m", "-XX:+AlwaysPreTouch"}
            : new String[] {"-XX:+UseSerialGC", "-Xms96m", "-Xmx96m"};

    private static final long START_SECONDS = 120;
    private static final long STOP_SECONDS = 20;

    private final Process process;
    private final Thread reader;
    private final Endpoint endpoint;

    private ServerProcess(Process process, Thread reader, Endpoint endpoint) {
        this.process = process;
        this.reader = reader;
        this.endpoint = endpoint;
    }

    /**
     * Starts a server on a free loopback port and waits until it listens. Its errors go to this process's.
     *
     * @param program its main class
     * @param arguments further ones of {@code serve}
     */
    public static ServerProcess start(Class<?> program, Path model, List<String> arguments) {
        List<String> command = new ArrayList<>(JvmCommand.of(program, HEAP));
        command.addAll(List.of("serve", "--model", model.toString(), "--port", "0"));
        command.addAll(arguments);
        Process process;
        try {
            process = new ProcessBuilder(command)
                    .redirectError(ProcessBuilder.Redirect.INHERIT)
                    .start();
        } catch (IOException e) {
            throw new DriveException(
                    "the server did not start", e.toString(), "check the JDK at " + System.getProperty("java.home"));
        }
        CompletableFuture<String> ready = new CompletableFuture<>();
        Thread reader = new Thread(() -> read(process, ready), "lram-server-output");
        reader.setDaemon(true);
        reader.start();
        boolean started = false;
        try {
            Endpoint endpoint = Endpoint.parse(ready.get(START_SECONDS, TimeUnit.SECONDS));
            started = true;
            return new ServerProcess(process, reader, endpoint);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new DriveException("the server did not start", "the thread was interrupted", "start again");
        } catch (java.util.concurrent.ExecutionException | java.util.concurrent.TimeoutException e) {
            throw new DriveException(
                    "the server did not start",
                    e.getCause() == null
                            ? "it did not say where it listens within " + START_SECONDS + " s"
                            : e.getCause().getMessage(),
                    "see its message above");
        } finally {
            if (!started) {
                process.destroyForcibly();
            }
        }
    }

    private static void read(Process process, CompletableFuture<String> ready) {
        try (BufferedReader lines = process.inputReader(StandardCharsets.UTF_8)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (line.startsWith(READY)) {
                    ready.complete(line.substring(READY.length()).strip());
                }
            }
            ready.completeExceptionally(new IOException("it ended with status " + process.waitFor()));
        } catch (IOException e) {
            ready.completeExceptionally(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            ready.completeExceptionally(e);
        }
    }

    public Endpoint endpoint() {
        return endpoint;
    }

    /** Asks the server to stop and waits until it has. */
    @Override
    public void close() {
        process.destroy();
        try {
            if (!process.waitFor(STOP_SECONDS, TimeUnit.SECONDS)) {
                process.destroyForcibly();
            }
            reader.join(TimeUnit.SECONDS.toMillis(STOP_SECONDS));
        } catch (InterruptedException e) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }
}
