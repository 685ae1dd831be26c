package byoc;

import com.amazonaws.ml.mms.ServerInitializer;
import com.amazonaws.ml.mms.servingsdk.impl.PluginsManager;
import com.amazonaws.ml.mms.util.ConfigManager;
import com.amazonaws.ml.mms.util.Connector;
import com.amazonaws.ml.mms.util.ConnectorType;
import com.amazonaws.ml.mms.util.ServerGroups;
import com.amazonaws.ml.mms.wlm.ModelManager;
import com.amazonaws.ml.mms.wlm.WorkLoadManager;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.Channel;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import java.io.OutputStream;
import java.io.PrintStream;
import org.slf4j.LoggerFactory;

/**
 * Starts multi-model-server with one door only: our own listener, with {@link Gate} in front of its handlers.
 *
 * <p>The stock main class opens a management port as well, cannot batch on /invocations, says it is healthy
 * before a model is loaded, resets connections on SIGTERM, and refuses ports above 32767.
 */
public final class Frontend {

    private Frontend() {}

    /** The only argument is the path of multi-model-server's properties file. */
    public static void main(String[] args) {
        try {
            PrintStream out = System.out; // log4j would print that it misses a class of Java 8
            System.setOut(new PrintStream(OutputStream.nullOutputStream()));
            LoggerFactory.getLogger(Frontend.class);
            System.setOut(out);
            ConfigManager.Arguments arguments = new ConfigManager.Arguments();
            arguments.setMmsConfigFile(args[0]);
            ConfigManager.init(arguments);
            run(ConfigManager.getInstance());
        } catch (Throwable error) {
            Throwable cause = error;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            fail("the HTTP server cannot run: " + (cause.getMessage() == null ? cause : cause.getMessage()));
        }
    }

    private static void run(ConfigManager config) throws Exception {
        config.validateConfigurations();
        PluginsManager.getInstance().initialize();
        ServerGroups groups = new ServerGroups(config);
        ModelManager.init(config, new WorkLoadManager(config, groups.getBackendGroup()));

        Traffic traffic = new Traffic(config);
        Channel listener = listen(config, groups, traffic);
        int drainSeconds = number(config, "byoc.drain_seconds");
        Runtime.getRuntime().addShutdownHook(new Thread(() -> traffic.drain(listener, drainSeconds), "drain"));

        load(config);
        watch(traffic, number(config, "byoc.lost_seconds"));
    }

    private static Channel listen(ConfigManager config, ServerGroups groups, Traffic traffic) {
        String address = config.getProperty("byoc.address", "0.0.0.0");
        int port = number(config, "byoc.port");
        ServerInitializer handlers = new ServerInitializer(null, ConnectorType.INFERENCE_CONNECTOR);
        ServerBootstrap bootstrap = new ServerBootstrap();
        bootstrap
                .group(groups.getServerGroup(), groups.getChildGroup())
                .channel(Connector.parse("http://127.0.0.1:8080", false).getServerChannel()) // for its class only
                .option(ChannelOption.SO_BACKLOG, 1024)
                .option(ChannelOption.SO_REUSEADDR, true)
                .childOption(ChannelOption.SO_KEEPALIVE, true)
                .childOption(ChannelOption.TCP_NODELAY, true)
                .childHandler(
                        new ChannelInitializer<Channel>() {
                            @Override
                            protected void initChannel(Channel channel) {
                                handlers.initChannel(channel);
                                channel.pipeline().addAfter("http", "gate", new Gate(traffic));
                            }
                        });
        try {
            return bootstrap.bind(address, port).syncUninterruptibly().channel();
        } catch (Exception error) { // netty rethrows the checked BindException unchecked
            fail("cannot listen on " + address + ":" + port + ": " + error.getMessage()
                    + "; stop the other program or set SAGEMAKER_BIND_TO_PORT");
            return null;
        }
    }

    private static void load(ConfigManager config) throws Exception {
        ModelManager models = ModelManager.getInstance();
        models.registerModel(
                "model", Traffic.MODEL, null, null, number(config, "byoc.batch_size"),
                number(config, "byoc.batch_delay_ms"), config.getDefaultResponseTimeoutSeconds(), Traffic.MODEL,
                config.getPreloadModel());
        models.getStartupModels().add(Traffic.MODEL); // what /invocations asks
        int workers = number(config, "byoc.workers");
        models.updateModel(Traffic.MODEL, workers, workers);
    }

    /** Ends the process when a model that was served has had no worker for so long that none is coming back. */
    private static void watch(Traffic traffic, int lostSeconds) throws InterruptedException {
        long lastReady = 0;
        while (true) {
            Thread.sleep(500);
            long now = System.nanoTime();
            if (traffic.workerReady()) {
                lastReady = now;
            } else if (lastReady != 0 && !traffic.draining && now - lastReady > lostSeconds * 1_000_000_000L) {
                fail("no worker has answered for " + lostSeconds + " s; serving is lost");
            }
        }
    }

    static int number(ConfigManager config, String name) {
        return Integer.parseInt(config.getProperty(name, null));
    }

    private static void fail(String sentence) {
        System.err.println("serve: " + sentence);
        Runtime.getRuntime().halt(1); // nothing to drain: a shutdown hook would wait for answers that never come
    }
}
