package ai.lram.dataset;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** Runs a main class that prints {@code ACK <number>} lines in a process of its own, and kills it in its work. */
public final class TestProcess {
    private TestProcess() {}

    /** Starts {@code main}, kills it once it has acknowledged {@code number}, and returns the last number it acknowledged. */
    public static int killAfter(int number, Class<?> main, String argument) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx256m", "-cp", classPath()));
        String logging = System.getProperty("logback.configurationFile");
        if (logging != null) {
            command.add("-Dlogback.configurationFile=" + logging);
        }
        command.addAll(List.of(main.getName(), argument));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        int acknowledged = -1;
        StringBuilder output = new StringBuilder();
        try (BufferedReader lines = process.inputReader()) {
            for (String line = lines.readLine(); line != null && acknowledged < number; line = lines.readLine()) {
                output.append(line).append('\n');
                if (line.startsWith("ACK ")) {
                    acknowledged = Integer.parseInt(line.substring(4));
                }
            }
        } finally {
            process.destroyForcibly();
            assertTrue(process.waitFor(30, TimeUnit.SECONDS));
        }
        assertTrue(acknowledged >= number, output.toString());
        return acknowledged;
    }

    /** The class path of the tests, also where a launcher loads them through a loader of its own. */
    private static String classPath() {
        if (TestProcess.class.getClassLoader() instanceof URLClassLoader loader) {
            return Arrays.stream(loader.getURLs())
                    .map(url -> Path.of(URI.create(url.toString())).toString())
                    .collect(Collectors.joining(File.pathSeparator));
        }
        return System.getProperty("java.class.path");
    }
}
