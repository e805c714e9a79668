package ai.lram.cli.scenario;

import java.io.File;
import java.lang.management.ManagementFactory;
import java.net.URI;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/** The command that runs a program of this class path in a JVM of its own. */
public final class JvmCommand {
    private JvmCommand() {}

    /**
     * This process's JDK, class path and opened doors; collector and heap are the new JVM's own.
     *
     * @param program its main class
     * @param flags of the JVM, further ones
     * @return to which the program's arguments are added
     */
    public static List<String> of(Class<?> program, String... flags) {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        for (String flag : ManagementFactory.getRuntimeMXBean().getInputArguments()) {
            if (flag.startsWith("--add-")
                    || flag.startsWith("--enable-")
                    || flag.startsWith("--sun-misc")
                    || flag.startsWith("-D")) {
                command.add(flag);
            }
        }
        command.addAll(List.of(flags));
        command.addAll(List.of("-cp", classPath(program), program.getName()));
        return command;
    }

    /** Of a program that a launcher loaded by a class loader of its own, that loader's; else the JVM's. */
    private static String classPath(Class<?> program) {
        if (program.getClassLoader() instanceof URLClassLoader loader) {
            return Arrays.stream(loader.getURLs())
                    .map(url -> Path.of(URI.create(url.toString())).toString())
                    .collect(Collectors.joining(File.pathSeparator));
        }
        return System.getProperty("java.class.path");
    }
}
