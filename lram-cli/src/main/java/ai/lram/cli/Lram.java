package ai.lram.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Properties;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * The {@code lram} program. Exit codes: 0 done, 1 failed, 2 the input or the arguments were wrong.
 *
 * <p>A command class must not touch engines, actors or the network before it runs, so that {@code lram --help} stays quick.
 */
@Command(
        name = "lram",
        description = "Trains Large Recurrent Action Models and serves them to robots in real time.",
        mixinStandardHelpOptions = true,
        versionProvider = Lram.Version.class,
        subcommands = {
            DemoCommand.class,
            DataCommand.class,
            TrainCommand.class,
            EvalCommand.class,
            ServeCommand.class,
            DriveCommand.class,
            ExportCommand.class,
            BenchCommand.class,
            DoctorCommand.class,
            CommandLine.HelpCommand.class
        },
        footer = {"", "lram test runs every test of the project (the launcher script does that by itself)."})
public final class Lram implements Runnable {
    @Spec
    private CommandSpec spec;

    public static void main(String[] args) {
        int status = commandLine().execute(args);
        // System.exit looks for a logger in every jar (60 ms): only where there is a status to give or a thread to end.
        if (status != 0 || Thread.activeCount() > 1) {
            System.exit(status);
        }
    }

    /** The whole command tree, as the program and the tests use it. */
    public static CommandLine commandLine() {
        CommandLine lram =
                new CommandLine(new Lram()).setExpandAtFiles(false).setExecutionExceptionHandler(new ErrorReport());
        // Only bench itself takes what it does not know, to name it; its commands would inherit that.
        lram.getSubcommands()
                .get("bench")
                .getSubcommands()
                .values()
                .forEach(command -> command.setUnmatchedArgumentsAllowed(false));
        return lram;
    }

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "a command is missing");
    }

    /** The version Maven wrote into the jar. */
    static final class Version implements IVersionProvider {
        @Override
        public String[] getVersion() {
            Properties build = new Properties();
            try (InputStream in = Lram.class.getResourceAsStream("build.properties")) {
                build.load(in);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            return new String[] {
                "lram " + build.getProperty("version"),
                "Java " + Runtime.version() + " (" + System.getProperty("java.vendor") + ")",
                System.getProperty("os.name") + " " + System.getProperty("os.version") + " "
                        + System.getProperty("os.arch")
            };
        }
    }
}
