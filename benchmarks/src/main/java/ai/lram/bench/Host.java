package ai.lram.bench;

import ai.lram.backend.BackendProvider;
import ai.lram.backend.Backends;
import java.io.IOException;
import java.io.InputStream;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Stream;

/**
 * What a number was measured with. Null stands for what is unknown or not there.
 *
 * @param commit of the sources, with {@code -dirty} where files differ from it; null outside a git checkout
 * @param jdk its version
 * @param cpu processor and how many of them this process may use
 * @param gpu engines other than the CPU's that are usable here; null without one
 */
public record Host(String commit, String jdk, String cpu, String gpu) {
    private static final Path CPU_INFO = Path.of("/proc/cpuinfo");
    private static final int GIT_SECONDS = 10;

    /** This process on this machine. Asks git, which takes some milliseconds. */
    public static Host here() {
        return new Host(
                head(),
                Runtime.version().toString(),
                processor() + ", " + Runtime.getRuntime().availableProcessors() + " processors",
                accelerator());
    }

    /** The processor's name as the system gives it, else its architecture. */
    public static String processor() {
        String architecture = System.getProperty("os.arch");
        if (!Files.isReadable(CPU_INFO)) {
            return architecture;
        }
        try (Stream<String> lines = Files.lines(CPU_INFO)) {
            return lines.filter(l -> l.startsWith("model name"))
                    .map(l -> l.substring(l.indexOf(':') + 1).strip())
                    .findFirst()
                    .orElse(architecture);
        } catch (IOException e) {
            return architecture + " (" + CPU_INFO + ": " + e.getMessage() + ")";
        }
    }

    private static String accelerator() {
        return Backends.providers().stream()
                .filter(p -> !p.name().equals("cpu") && p.whyUnavailable().isEmpty())
                .map(BackendProvider::name)
                .findFirst()
                .orElse(null);
    }

    private static String head() {
        Path code;
        try {
            code = Path.of(Host.class
                    .getProtectionDomain()
                    .getCodeSource()
                    .getLocation()
                    .toURI());
        } catch (URISyntaxException e) {
            return null;
        }
        String folder = (Files.isDirectory(code) ? code : code.getParent()).toString();
        return git("-C", folder, "rev-parse", "--short=12", "HEAD")
                .map(head -> git("-C", folder, "status", "--porcelain", "--untracked-files=no")
                        .map(changes -> changes.isEmpty() ? head : head + "-dirty")
                        .orElse(head))
                .orElse(null);
    }

    /** Its output, or nothing where there is no git or no repository. */
    private static Optional<String> git(String... arguments) {
        String[] command = new String[arguments.length + 1];
        command[0] = "git";
        System.arraycopy(arguments, 0, command, 1, arguments.length);
        return output(GIT_SECONDS, command);
    }

    /** What a command prints, or nothing if it cannot be started, fails, or takes longer; then it is killed. */
    static Optional<String> output(int seconds, String... command) {
        Process process;
        try {
            process = new ProcessBuilder(command)
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
        } catch (IOException notThere) {
            return Optional.empty();
        }
        CompletableFuture<String> printed = new CompletableFuture<>();
        Thread.ofVirtual().start(() -> {
            try (InputStream in = process.getInputStream()) {
                process.getOutputStream().close();
                printed.complete(new String(in.readAllBytes(), StandardCharsets.UTF_8).strip());
            } catch (IOException e) {
                printed.completeExceptionally(e);
            }
        });
        try {
            String text = printed.get(seconds, TimeUnit.SECONDS);
            return process.waitFor(seconds, TimeUnit.SECONDS) && process.exitValue() == 0
                    ? Optional.of(text)
                    : Optional.empty();
        } catch (ExecutionException | TimeoutException e) {
            return Optional.empty();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return Optional.empty();
        } finally {
            process.destroyForcibly();
        }
    }
}
